import { describe, expect, it } from 'vitest';
import { findNode, findOne, isTaskId, shortNodeId } from '../../../../sdk/cli/ids.ts';

const nodes = [
  { id: '12D3KooWaaaa1111', name: 'ndvi' },
  { id: '12D3KooWaaab2222', name: 'ndvi-2' },
];
const find = (text: string) =>
  findOne(nodes, text, {
    noun: 'node',
    list: 'nodes',
    namesOf: (node) => [node.id, node.name, node.id.replace('12D3KooW', '')],
  }).name;

describe('findOne', () => {
  it('takes a whole name before the names it begins', () => {
    expect(find('ndvi')).toBe('ndvi');
    expect(find('ndvi-2')).toBe('ndvi-2');
  });

  it('takes a unique beginning of any of its names', () => {
    expect(find('aaab')).toBe('ndvi-2');
    expect(find('12D3KooWaaaa')).toBe('ndvi');
  });

  it('refuses what fits several, or nothing', () => {
    expect(() => find('aaa')).toThrow('"aaa" fits 2 nodes.');
    expect(() => find('zzz')).toThrow('No node has the id or name "zzz".');
  });
});

describe('ids', () => {
  it('tells tasks from groups', () => {
    expect(['17-3', '1-0'].every(isTaskId)).toBe(true);
    expect(['3f2a', '17', '17-', 'a-1', '@last', ''].some(isTaskId)).toBe(false);
  });

  it('shortens a node’s id to its end, which tells nodes apart', () => {
    expect(shortNodeId('12D3KooWS14vPj982FcoR1MM7J')).toBe('coR1MM7J');
    expect(shortNodeId('QmOther')).toBe('QmOther');
  });
});

describe('findNode', () => {
  const node = { id: '12D3KooWS14vPj982FcoR1MM7J', name: 'lab-1' };
  const other = { id: '12D3KooWQQQQPj982FcoRzzzzz', name: 'lab-2' };

  it.each([
    node.id,
    '12D3KooWS1',
    'S14v',
    'lab-1',
    shortNodeId(node.id),
    `…${shortNodeId(node.id)}`,
  ])('takes %s', (text) => {
    expect(findNode([other, node], text)).toBe(node);
  });

  it('refuses what every id begins with', () => {
    expect(() => findNode([other, node], '12D3KooW')).toThrow('fits 2 nodes');
  });
});

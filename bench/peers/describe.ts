/** The peers beside the product, as one table with ratios. */
import { findRow, type Row, show } from '../figures.ts';
import { peerNotes } from './measure.ts';

const compared = ['no-op map of 1000', 'no-op map of 10000', 'round trip p50'];

/** Empty where no peer was measured. A ratio over 1 speaks for the product. */
export function describePeers(rows: readonly Row[]): string {
  const peers = [...new Set(rows.map((row) => row.of))].filter((name) => name in peerNotes);
  if (peers.length === 0) return '';
  const lines = peers.flatMap((peer) =>
    compared.map((scenario) => {
      const ours = findRow(rows, 'product', scenario);
      const theirs = findRow(rows, peer, scenario);
      if (ours === undefined || theirs === undefined) return '';
      const isTime = theirs.unit === 'ms';
      const ratio = isTime ? theirs.median / ours.median : ours.median / theirs.median;
      return `${peer.padEnd(12)}${scenario.padEnd(22)}${show(theirs.median).padStart(9)} ${theirs.unit.padEnd(8)} ours ${show(ours.median).padStart(8)}  ${show(ratio)} x\n`;
    }),
  );
  const notes = peers.map((peer) => `${peer}: ${peerNotes[peer]}\n`);
  return `\n${lines.join('')}\n${notes.join('')}`;
}

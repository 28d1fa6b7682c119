import { describe, expect, it } from 'vitest';
import { normalizeRequirements, packageOf } from '../../../../coordinator/images/requirements.ts';

describe('requirements', () => {
  it('that mean the same are the same, in whatever order and form they are written', () => {
    const one = [
      'Affine == 2.3.0  # scales',
      '',
      '# a comment',
      'zope.Interface>=4',
      'affine==2.3.0',
    ];
    const other = ['zope_interface >=4', 'AFFINE==2.3.0'];
    expect(normalizeRequirements(one)).toEqual(['affine==2.3.0', 'zope-interface>=4']);
    expect(normalizeRequirements(other)).toEqual(normalizeRequirements(one));
  });

  it('keep extras, markers and hashes, over continued lines', () => {
    const hash = `--hash=sha256:${'a'.repeat(64)}`;
    const lines = [
      'Fiona [Calc, s3] >= 1.8, < 1.9',
      'enum34 ; python_version   < "3"',
      `affine==2.3.0 \\\r\n    ${hash}`,
    ];
    expect(normalizeRequirements([lines.join('\n')])).toEqual([
      `affine==2.3.0 ${hash}`,
      'enum34 ; python_version < "3"',
      'fiona[calc,s3]>=1.8,<1.9',
    ]);
    expect(packageOf('fiona[calc,s3]>=1.8,<1.9')).toBe('fiona');
  });

  it.each([
    ['--index-url=http://127.0.0.1/', 'option of pip'],
    ['-r other.txt', 'option of pip'],
    ['-e .', 'option of pip'],
    ['https://example.test/x.whl', 'not in the package index'],
    ['affine @ https://example.test/x.whl', 'not in the package index'],
    ['git+ssh://example.test/x', 'not in the package index'],
    ['./local', 'not in the package index'],
    ['/etc/passwd', 'not in the package index'],
    ['affine 2.3', 'is not a requirement'],
    ['!!', 'is not a requirement'],
    ['x'.repeat(2_001), 'more than 2000 characters'],
  ])('refuse %j, and say what to write', (line, why) => {
    const refusal = expect.objectContaining({
      code: 'invalid_request',
      message: expect.stringContaining(why),
      fix: expect.stringMatching(/\w/),
    });
    expect(() => normalizeRequirements([line])).toThrow(refusal);
  });

  it('refuse none at all, and too many', () => {
    expect(() => normalizeRequirements(['# nothing'])).toThrow('no requirement');
    const many = Array.from({ length: 1_001 }, (_, at) => `p${at}`);
    expect(() => normalizeRequirements(many)).toThrow('More than 1000');
  });
});

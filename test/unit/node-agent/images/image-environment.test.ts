/** What of an image's ENV and WORKDIR reaches its tasks. */
import { describe, expect, it } from 'vitest';
import { readImageEnvironment } from '../../../../node-agent/images/image-environment.ts';

describe('the environment of an image', () => {
  it('is its variables, its folders of programs and of modules, and its working folder', () => {
    const lines = [
      'GREETING=good day',
      'GDAL_DATA=/opt/gdal',
      'PATH=/opt/bin:/usr/bin:bin::/opt/bin',
    ];
    expect(readImageEnvironment([...lines, 'PYTHONPATH=/opt/lib:/app/../etc'], '/app')).toEqual({
      variables: {
        GREETING: 'good day',
        GDAL_DATA: '/opt/gdal',
        PERIGEE_IMAGE_WORKDIR: '/app',
      },
      programFolders: ['/opt/bin', '/usr/bin'],
      moduleFolders: ['/opt/lib', '/app'],
    });
  });

  it('has nothing that steers the loader, the interpreter, the shell or the sandbox', () => {
    const names = [
      ...[
        'LD_PRELOAD',
        'LD_LIBRARY_PATH',
        'LD_AUDIT',
        'PYTHONHOME',
        'PYTHONSTARTUP',
        'PYTHONINSPECT',
      ],
      ...[
        'PERIGEE_SANDBOX',
        'HOME',
        'TMPDIR',
        'LANG',
        'LC_ALL',
        'OMP_NUM_THREADS',
        'GLIBC_TUNABLES',
      ],
      ...['BASH_ENV', 'ENV', 'MALLOC_CHECK_'],
    ];
    const lines = names.map((name) => `${name}=/evil`);
    expect(readImageEnvironment(lines, '/').variables).toEqual({});
  });

  it('passes over what is not sound or too much', () => {
    const lines = [
      'A',
      '=b',
      '1A=x',
      'A-B=x',
      7,
      null,
      'NUL=a\0b',
      'OK=1',
      `BIG=${'x'.repeat(65_536)}`,
    ];
    expect(readImageEnvironment(lines, '../up')).toMatchObject({ variables: { OK: '1' } });
    const many = Array.from({ length: 300 }, (_, at) => `N${at}=x`);
    expect(Object.keys(readImageEnvironment(many, null).variables)).toHaveLength(200);
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPipSettings } from '../../../../../coordinator/images/builder/pip-settings.ts';

let pip: string;
beforeAll(() => {
  pip = mkdtempSync(join(tmpdir(), 'perigee-pip-'));
  mkdirSync(join(pip, 'pip/_internal/models'), { recursive: true });
  const source =
    "PyPI = PackageIndex(\n    'https://index.example/', file_storage_domain='files.example'\n)\n" +
    'TestPyPI = PackageIndex("https://other.example/", file_storage_domain="x.example")\n';
  writeFileSync(join(pip, 'pip/_internal/models/index.py'), source);
});
afterAll(() => rmSync(pip, { recursive: true }));

const read = (env: Record<string, string>, hostsMore: string[] = []) =>
  readPipSettings({ HOME: pip, XDG_CONFIG_DIRS: pip, ...env }, { hostsMore, pip });

describe('the hosts that a build may reach', () => {
  it('are those of pip’s own index when nobody names another', () => {
    const settings = read({ PIP_CONFIG_FILE: '/dev/null' });
    expect([...settings.hosts]).toEqual(['index.example:443', 'files.example:443']);
    expect(settings.environment['PIP_INDEX_URL']).toBe('https://index.example/simple');
  });

  it('are those of the settings alone when they name one, and what the owner adds', () => {
    const env = {
      PIP_CONFIG_FILE: '/dev/null',
      PIP_INDEX_URL: 'http://mirror.example:8080/simple',
    };
    const settings = read(env, ['cdn.example:443']);
    expect([...settings.hosts]).toEqual(['mirror.example:8080', 'cdn.example:443']);
    expect(settings.environment['PIP_INDEX_URL']).toBe('http://mirror.example:8080/simple');
  });

  it('are none with no-index', () => {
    expect([...read({ PIP_CONFIG_FILE: '/dev/null', PIP_NO_INDEX: '1' }).hosts]).toEqual([]);
  });
});

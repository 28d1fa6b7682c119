/** The rules of the tree that a compiler does not keep: who may import whom, and what a core may call. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const folders = ['protocol', 'coordinator', 'node-agent', 'sdk', 'scripts', 'bench', 'test'];
const linesMax = 450;

interface Source {
  path: string;
  text: string;
  imports: string[];
}

const sources = folders.flatMap((folder) => readSources(folder));

function readSources(folder: string): Source[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile() && file.name.endsWith('.ts') && !file.name.endsWith('.d.ts'))
    .map((file) => join(file.parentPath, file.name))
    .filter((path) => !path.includes('node_modules') && !path.includes('/dist/'))
    .map((path) => {
      const text = readFileSync(path, 'utf8');
      return { path: relative(root, path), text, imports: readImports(path, text) };
    });
}

/** Specifiers as written for packages, as paths from the root for files. */
function readImports(path: string, text: string): string[] {
  const pattern = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*)'([^']+)'/g;
  return [...text.matchAll(pattern)].map((match) => {
    const specifier = match[1] ?? '';
    return specifier.startsWith('.')
      ? relative(root, resolve(dirname(path), specifier))
      : specifier;
  });
}

interface Rule {
  rule: string;
  of: (path: string) => boolean;
  allows: (specifier: string, path: string) => boolean;
}

const isOurs = (specifier: string) => folders.some((folder) => specifier.startsWith(`${folder}/`));
const isCore = (path: string) =>
  /^(coordinator|node-agent)\/core\//.test(path) ||
  /^coordinator\/autoscaler\/(plan|lifecycle)\//.test(path);
const corePackage =
  /^protocol\/(wire\/(ids|limits|task|messages)|base\/(assert|errors|random))\.ts$/;

const rules: Rule[] = [
  {
    rule: 'protocol/base imports nothing of ours',
    of: (path) => path.startsWith('protocol/base/'),
    allows: (specifier) => specifier.startsWith('protocol/base/'),
  },
  {
    rule: 'protocol/wire imports base, the types of STAC, and msgpack in codec.ts alone',
    of: (path) => path.startsWith('protocol/wire/'),
    allows: (specifier, path) =>
      /^protocol\/(base|wire)\//.test(specifier) ||
      specifier === 'protocol/stac/item.ts' ||
      (path === 'protocol/wire/codec.ts' && specifier === 'msgpackr'),
  },
  {
    rule: 'protocol imports nothing outside protocol',
    of: (path) => path.startsWith('protocol/'),
    allows: (specifier) => !isOurs(specifier) || specifier.startsWith('protocol/'),
  },
  {
    rule: 'a core imports its own files and a few of the protocol, no package and no node: module',
    of: isCore,
    allows: (specifier, path) =>
      corePackage.test(specifier) ||
      specifier.startsWith(`${path.split('/')[0]}/core/`) ||
      (path.startsWith('coordinator/autoscaler/') &&
        /^coordinator\/autoscaler\/(plan\/|lifecycle\/|provider-port\.ts)/.test(specifier)),
  },
  {
    rule: 'coordinator never imports node-agent, sdk, scripts, bench or test',
    of: (path) => path.startsWith('coordinator/'),
    allows: (specifier) => !isOurs(specifier) || /^(coordinator|protocol)\//.test(specifier),
  },
  {
    rule: 'node-agent never imports coordinator, sdk, scripts, bench or test',
    of: (path) => path.startsWith('node-agent/'),
    allows: (specifier) => !isOurs(specifier) || /^(node-agent|protocol)\//.test(specifier),
  },
  {
    rule: 'sdk imports sdk and protocol',
    of: (path) => path.startsWith('sdk/'),
    allows: (specifier) => !isOurs(specifier) || /^(sdk|protocol)\//.test(specifier),
  },
  {
    rule: 'the CLI never imports libp2p, which costs 0.7 s',
    of: (path) => path.startsWith('sdk/cli/'),
    allows: (specifier) => !/libp2p|^protocol\/net\//.test(specifier),
  },
  {
    rule: 'the TypeScript SDK never imports the CLI',
    of: (path) => path.startsWith('sdk/ts/'),
    allows: (specifier) => !specifier.startsWith('sdk/cli/'),
  },
  {
    rule: 'only the process of a folder imports its main.ts',
    of: () => true,
    allows: (specifier) => !/^(coordinator|node-agent|sdk\/cli)\/main\.ts$/.test(specifier),
  },
];

describe('imports', () => {
  it.each(rules)('$rule', ({ of, allows }) => {
    const broken = sources
      .filter((source) => of(source.path))
      .flatMap((source) =>
        source.imports
          .filter((specifier) => !allows(specifier, source.path))
          .map((specifier) => `${source.path} → ${specifier}`),
      );
    expect(broken).toEqual([]);
  });

  it('form no cycle', () => {
    expect(findCycle()).toEqual([]);
  });

  it('pass through no barrel file but sdk/ts/index.ts', () => {
    const barrels = sources
      .filter((source) => /^(protocol|coordinator|node-agent|sdk)\//.test(source.path))
      .filter((source) => /(^|\/)index\.ts$/.test(source.path))
      .map((source) => source.path);
    expect(barrels).toEqual(['sdk/ts/index.ts']);
  });
});

describe('a core', () => {
  const banned = [
    /\bDate\.now\b/,
    /\bnew Date\(\)/,
    /\bMath\.random\b/,
    /\bperformance\.now\b/,
    /\bprocess\./,
    /\bset(?:Timeout|Interval|Immediate)\b/,
    /\bqueueMicrotask\b/,
    /\basync\b/,
    /\bawait\b/,
    /\bfetch\(/,
  ];

  it('has no clock, chance, timer, process or promise of its own', () => {
    const found = sources
      .filter((source) => isCore(source.path))
      .flatMap((source) => {
        const code = source.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
        return banned
          .filter((pattern) => pattern.test(code))
          .map((pattern) => `${source.path}: ${pattern.source}`);
      });
    expect(found).toEqual([]);
  });
});

describe('a file', () => {
  it(`of the product holds one idea in at most ${linesMax} lines`, () => {
    const long = sources
      .filter((source) => !source.path.startsWith('test/'))
      .map((source) => ({ path: source.path, lines: source.text.split('\n').length }))
      .filter(({ lines }) => lines > linesMax);
    expect(long).toEqual([]);
  });

  it('is not a drawer for things without a place', () => {
    const drawers = sources
      .map((source) => source.path)
      .filter((path) => /(^|\/)(utils?|helpers?|lib|common|manager|misc)(\.ts$|\/)/.test(path));
    expect(drawers).toEqual([]);
  });

  it('has no cast to any, no non-null assertion and no compiler silencer', () => {
    const found = sources.flatMap((source) =>
      [/\bas any\b/, /@ts-(?:ignore|nocheck)/, /biome-ignore(?! lint\/\S+: \S)/]
        .filter((pattern) => pattern.test(source.text) && source.path !== 'test/tidy.test.ts')
        .map((pattern) => `${source.path}: ${pattern.source}`),
    );
    expect(found).toEqual([]);
  });
});

function findCycle(): string[] {
  const graph = new Map(sources.map((source) => [source.path, source.imports]));
  const finished = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (finished.has(path)) return [];
    trail.push(path);
    for (const next of graph.get(path) ?? []) {
      const cycle = visit(next);
      if (cycle.length > 0) return cycle;
    }
    trail.pop();
    finished.add(path);
    return [];
  };
  for (const path of graph.keys()) {
    const cycle = visit(path);
    if (cycle.length > 0) return cycle;
  }
  return [];
}

/**
 * What an image of a registry says its programs should find: ENV and WORKDIR. Taken as wishes of a
 * stranger: what the sandbox sets itself stays, and what steers the loader or the interpreter is left
 * out.
 */

/** Of an image. */
export interface ImageEnvironment {
  /** Without PATH and PYTHONPATH. */
  variables: Readonly<Record<string, string>>;
  /** Its own folders of programs and of Python modules, absolute, inside the image. */
  programFolders: readonly string[];
  moduleFolders: readonly string[];
}

/**
 * `LD_PRELOAD` and its like are read by every program, also those that set a sandbox up; the PYTHON…
 * ones would change the harness itself; the others are the sandbox's own to say.
 */
const neverTaken = [
  /^(LD|DYLD|PYTHON|PERIGEE|LC|MALLOC)_?/,
  /^(HOME|USER|LOGNAME|SHELL|PWD|HOSTNAME|TMPDIR|TMP|TEMP|LANG|LANGUAGE|TERM)$/,
  /^(OMP|OPENBLAS|MKL)_NUM_THREADS$/,
  /^(GLIBC_TUNABLES|GCONV_PATH|GETCONF_DIR|HOSTALIASES|LOCPATH|NLSPATH|RESOLV_HOST_CONF|RES_OPTIONS)$/,
  /^(BASH_ENV|ENV|IFS|PS4|BASH_FUNC_.*|SHELLOPTS)$/,
];
const entriesMax = 200;
const bytesMax = 64 * 1024;

/** Reads `NAME=VALUE` lines and the working folder; what is not sound is passed over. */
export function readImageEnvironment(
  lines: readonly unknown[],
  workFolder: unknown,
): ImageEnvironment {
  const variables: Record<string, string> = {};
  let programFolders: string[] = [];
  let moduleFolders: string[] = [];
  let bytes = 0;
  for (const line of lines.slice(0, entriesMax)) {
    const [, name = '', value = ''] =
      typeof line === 'string' ? (/^([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)$/.exec(line) ?? []) : [];
    bytes += name.length + value.length;
    if (name === '' || bytes > bytesMax) continue;
    if (name === 'PATH') programFolders = foldersOf(value);
    else if (name === 'PYTHONPATH') moduleFolders = foldersOf(value);
    else if (!neverTaken.some((pattern) => pattern.test(name))) variables[name] = value;
  }
  if (typeof workFolder === 'string' && isFolder(workFolder) && workFolder !== '/') {
    variables['PERIGEE_IMAGE_WORKDIR'] = workFolder;
    moduleFolders.push(workFolder);
  }
  return { variables, programFolders, moduleFolders };
}

function foldersOf(text: string): string[] {
  return [...new Set(text.split(':').filter(isFolder))];
}

function isFolder(path: string): boolean {
  return path.startsWith('/') && !path.split('/').includes('..') && !path.includes('\0');
}

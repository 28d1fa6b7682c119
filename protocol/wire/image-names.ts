/** Image names: Perigee's own, and DLRun's known ones, which map to the Python 2.7 environment. */

/** The image that DLRun's names, and no name at all, stand for. */
export const geospatialPython2 = 'perigee/geospatial:py2.7';
/** The Python 3 image of every machine; on x64 another name of `perigee/geospatial:py3.11`. */
export const basePython3 = 'perigee/python:py3.11';
/** Minor versions of Python 3 that set-up has a geospatial image for. */
export const geospatialPython3Minors = ['3.9', '3.11', '3.13'] as const;

/** The geospatial image for a Python's minor version; undefined where set-up has none. */
export function findGeospatialImage(minor: string): string | undefined {
  if (minor === '2.7') return geospatialPython2;
  const isMade = geospatialPython3Minors.some((each) => each === minor);
  return isMade ? `perigee/geospatial:py${minor}` : undefined;
}

const originalPrefix = 'us.gcr.io/dl-ci-cd/images/tasks/';
const python2Paths = ['public/geospatial/', 'public/py2', 'public/alpha/py2', 'base/task-base'];

/**
 * The name that a node knows for the name that a user wrote: DLRun's Python 2 names become
 * `perigee/geospatial:py2.7`, everything else stays as it is.
 */
export function canonicalImageName(name: string): string {
  if (!name.startsWith(originalPrefix)) return name;
  const path = name.slice(originalPrefix.length);
  return python2Paths.some((prefix) => path.startsWith(prefix)) ? geospatialPython2 : name;
}

/** What the files that tasks give out may be called, and said to be. */

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const mediaTypePattern =
  /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,60}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,60}(; ?[A-Za-z0-9-]{1,40}=[A-Za-z0-9._+-]{1,60}){0,4}$/;

/** Of a Cloud Optimized GeoTIFF, as STAC has it. */
export const cogMediaType = 'image/tiff; application=geotiff; profile=cloud-optimized';

/** A name is a file's name too: no folders, nothing hidden, nothing that a shell reads. */
export function isOutputName(text: string): boolean {
  return namePattern.test(text);
}

export const outputNameRule =
  'Give 1 to 100 letters, digits, dots, underscores and hyphens; the first is a letter or digit.';

/** A type, and parameters that a header can hold. */
export function isMediaType(text: string): boolean {
  return mediaTypePattern.test(text);
}

/** True for any kind of GeoTIFF. */
export function isGeoTiff(mediaType: string): boolean {
  return mediaType.startsWith('image/tiff;') && mediaType.includes('application=geotiff');
}

/** Whether a text is a JSON object. */
export function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

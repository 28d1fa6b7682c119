/** Pulls an image as whoever runs this: REFERENCE, folder of images, file of credentials. */
import { pullImage } from '../../coordinator/images/oci/pull-image.ts';
import { findOciReference } from '../../coordinator/images/oci/reference.ts';
import { resolveImage } from '../../coordinator/images/oci/registry.ts';

const [, , name = '', folder = '', authFile = ''] = process.argv;
const reference = findOciReference(name);
if (reference === undefined) throw new Error(`${name} is no reference`);
const settings = { authFile, insecure: [], allowed: [] };
const { signal } = new AbortController();
const image = await resolveImage(reference, settings, { arch: process.arch, signal });
const onOutput = (text: string): void => void process.stderr.write(text);
const pulled = await pullImage({ image, folder, settings, isRoot: false, signal, onOutput });
process.stdout.write(JSON.stringify({ ...pulled, digest: image.digest, uid: process.getuid?.() }));

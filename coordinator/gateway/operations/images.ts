/** Images that a new group may choose. */
import type { ImageView, Page } from '../../../protocol/wire/api.ts';
import { readNamespace } from '../caller.ts';
import { listKnownImages } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import type { Context } from '../services.ts';

/** All images that nodes of the namespace have, or machines to be made would have. */
export async function listImages(context: Context, input: Input): Promise<Page<ImageView>> {
  const namespace = readNamespace(context.caller, input);
  const local = await context.deps.images.list();
  const images = listKnownImages(context.deps.driver.state(), local, namespace);
  const items = images.map((image) => ({ ...image, name: image.names[0] ?? image.digest }));
  return { items, next: null };
}

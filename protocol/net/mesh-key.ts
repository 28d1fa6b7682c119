/** A process's identity on the mesh: an ed25519 key in a file that only its owner reads. */
import { chmod, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { PerigeeError, toError } from '../base/errors.ts';

/** A new ed25519 key, in libp2p's protobuf form. */
export async function generateMeshKey(): Promise<Uint8Array> {
  return privateKeyToProtobuf(await generateKeyPair('Ed25519'));
}

/**
 * The peer id that a key stands for.
 * @throws PerigeeError invalid_request when the bytes are not a key.
 */
export function peerIdOfKey(key: Uint8Array): string {
  try {
    return peerIdFromPrivateKey(privateKeyFromProtobuf(key)).toString();
  } catch (cause) {
    throw new PerigeeError('invalid_request', 'The mesh key is not a libp2p private key.', {
      cause,
      fix: 'Remove the key file; a new identity is made at the next start.',
    });
  }
}

/**
 * The key of a file; made, with mode 0600, when there is none. A half-written key cannot stay
 * behind: it is written aside, synced and renamed.
 * @throws PerigeeError invalid_request when the file holds something else.
 */
export async function loadMeshKey(path: string): Promise<Uint8Array> {
  try {
    const key = await readFile(path);
    peerIdOfKey(key);
    // A copied key may have lost its mode on the way; the identity must not stay readable.
    await chmod(path, 0o600);
    return key;
  } catch (caught) {
    const error = toError(caught);
    if (!('code' in error) || error.code !== 'ENOENT') throw error;
  }
  const key = await generateMeshKey();
  const aside = `${path}.${process.pid}`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(key);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return key;
}

/** The way in: from an address to a mesh that answers. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { type Environment, resolveAddress } from './config.ts';
import { createDeadline, type WaitOptions } from './deadline.ts';
import { Mesh } from './mesh.ts';
import { createMeshLink } from './mesh-link.ts';
import { createMeshTransport } from './mesh-transport.ts';

/** Where the mesh is, and how long the way there may take. */
export interface ConnectOptions extends WaitOptions {
  /** Of the coordinator, http or https. Default: `PERIGEE_URL`, else the config file's. */
  url?: string | undefined;
  /** Default: `PERIGEE_TOKEN`, else the config file's. */
  token?: string | undefined;
  /** Read instead of `process.env`. */
  environment?: Environment | undefined;
  /** How long the coordinator may stay away before a call gives up; default 60 s. */
  awayMsMax?: number | undefined;
}

/** As the Python SDK has it. */
const awayMsMaxDefault = 60_000;
const firstAwayMsMax = 3_000;

/**
 * Connects to a mesh and checks the token.
 * @throws PerigeeError unreachable, token_missing, token_wrong, token_expired, forbidden, timed_out;
 *   or the signal's reason.
 * @example
 * await using mesh = await connect();
 * const square = await mesh.createFunction({ source: 'def square(x):\n    return x * x\n' });
 * const task = await square.call([7]);
 * console.log(await task.result()); // 49
 */
export async function connect(options: ConnectOptions = {}): Promise<Mesh> {
  using deadline = createDeadline(options, 'Connecting to the mesh');
  const { signal } = deadline;
  signal.throwIfAborted();
  const address = await resolveAddress(options, options.environment ?? process.env);
  const { token } = address;
  if (token === null) throw new PerigeeError('token_missing');
  const transport = createMeshTransport({ ...address, token });
  const awayMsMax = options.awayMsMax ?? awayMsMaxDefault;
  const link = createMeshLink(transport, {
    awayMsMax,
    firstAwayMsMax: Math.min(firstAwayMsMax, awayMsMax),
  });
  const mesh = new Mesh({
    link,
    async close() {
      await link.close();
      await transport.stop();
    },
  });
  try {
    await mesh.whoami({ signal });
  } catch (caught) {
    await mesh.close();
    throw caught;
  }
  return mesh;
}

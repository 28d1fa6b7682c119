/** What a fleet asks for a machine to become a node by itself. */
import type { InstanceId } from '../../protocol/wire/ids.ts';

export interface Bootstrap {
  /**
   * What the machine runs at its first boot, as cloud-init user data: a shell script. Mints a join
   * token of one use that only this instance can spend.
   * @param offer of that pool: the agent says that it can carry what the offer's shape says.
   */
  userData(instance: InstanceId, pool: string, offer: string): Promise<string>;
}

/** A file that machines fetch while they boot, named by what it holds. */
export interface BootFile {
  /** Lower-case hexadecimal SHA-256. */
  digest: string;
  path: string;
  sizeBytes: number;
}

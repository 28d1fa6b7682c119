/** The address that agents are told to join. */
import { PerigeeError } from '../protocol/base/errors.ts';

/**
 * Of the mesh's addresses, one that others reach; loopback when there is no other.
 * @throws PerigeeError port_taken when it listens nowhere
 */
export function chooseJoinAddress(addresses: readonly string[]): string {
  const beyond = addresses.find(
    (address) => !address.includes('/127.') && !address.startsWith('/ip6/::1/'),
  );
  const address = beyond ?? addresses[0];
  if (address === undefined) {
    throw new PerigeeError('port_taken', 'The mesh does not listen on any address.');
  }
  return address;
}

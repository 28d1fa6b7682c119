import { expect, it } from 'vitest';
import { createEc2Provider } from '../../../../../coordinator/autoscaler/providers/ec2/create-provider.ts';
import { parseEc2Settings } from '../../../../../coordinator/autoscaler/providers/ec2/settings.ts';
import type { InstanceId } from '../../../../../protocol/wire/ids.ts';
import { offer } from '../plan/fleets.ts';

it('knows that no machine was made of user data that EC2 would not take', async () => {
  const settings = parseEc2Settings({ region: 'eu-west-1', image: 'ami-1' });
  const deps = { pool: 'aws', offers: [offer()], coordinator: 'mine', env: {} };
  const provider = createEc2Provider(settings, deps);
  const request = {
    ...{ instance: 'aws-1' as InstanceId, offer: 'small', userData: 'x'.repeat(16 * 1024 + 1) },
  };
  await expect(provider.create(request, new AbortController().signal)).rejects.toMatchObject({
    ...{ failure: 'invalid', mayHaveMade: false, message: expect.stringContaining('16385 bytes') },
  });
  await provider.close();
});

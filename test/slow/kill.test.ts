import { describeKills } from '../chaos/kill-suite.ts';

describeKills(20, { sideBySide: true });

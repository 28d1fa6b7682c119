import { describeKills } from '../chaos/kill-suite.ts';

describeKills(2, { sideBySide: false });

import { describe, expect, it } from 'vitest';
import {
  buildSeccompProgram,
  deniedCallNames,
  findSeccompArch,
} from '../../../../node-agent/runner/seccomp.ts';

const answers = { allow: 0x7fff0000, kill: 0x80000000, eperm: 0x00050001, enosys: 0x00050026 };
const auditArch = { x64: 0xc000003e, arm64: 0xc00000b7 };

interface Call {
  arch: number;
  number: number;
  arguments?: readonly number[];
}

/** Runs a program as the kernel does. */
function run(program: Buffer, call: Call): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number >>> 0, 0);
  data.writeUInt32LE(call.arch >>> 0, 4);
  call.arguments?.forEach((value, index) => {
    data.writeUInt32LE(value >>> 0, 16 + index * 8);
  });
  let accumulator = 0;
  for (let at = 0; at * 8 < program.length; at += 1) {
    const code = program.readUInt16LE(at * 8);
    const value = program.readUInt32LE(at * 8 + 4);
    if (code === 0x06) return value;
    if (code === 0x20) {
      accumulator = data.readUInt32LE(value);
      continue;
    }
    const taken =
      code === 0x15
        ? accumulator === value
        : code === 0x35
          ? accumulator >= value
          : (accumulator & value) !== 0;
    at += program.readUInt8(at * 8 + (taken ? 2 : 3));
  }
  throw new Error('the program has no end');
}

describe.each(['x64', 'arm64'] as const)('the system call filter for %s', (name) => {
  const arch = auditArch[name];
  const program = buildSeccompProgram(name, { denyInet: false });
  const clone = name === 'x64' ? 56 : 220;

  it('kills a call of another architecture', () => {
    const other = name === 'x64' ? 0x40000003 : auditArch.x64;
    expect(run(program, { arch: other, number: 1 })).toBe(answers.kill);
  });

  it('lets read, write, futex and fork through', () => {
    const numbers = name === 'x64' ? [0, 1, 202, 57, 41, 257] : [63, 64, 98, 198, 56];
    for (const number of numbers) expect(run(program, { arch, number })).toBe(answers.allow);
  });

  it('refuses exactly the calls of its list, clone3 and nothing else', () => {
    const refused = Array.from({ length: 600 }, (_, number) => number).filter(
      (number) => run(program, { arch, number }) === answers.eperm,
    );
    const own = name === 'x64' ? 6 : 0;
    expect(refused).toHaveLength(deniedCallNames.length + own);
    expect(run(program, { arch, number: 435 })).toBe(answers.enosys);
  });

  it('lets clone make threads, and no namespace', () => {
    const threads = 0x3d0f00;
    expect(run(program, { arch, number: clone, arguments: [threads] })).toBe(answers.allow);
    for (const flag of [17, 25, 26, 27, 28, 29, 30]) {
      const call = { arch, number: clone, arguments: [(1 << flag) | 17] };
      expect(run(program, call)).toBe(answers.eperm);
    }
  });

  it('refuses TIOCSTI and lets other ioctls through', () => {
    const ioctl = name === 'x64' ? 16 : 29;
    expect(run(program, { arch, number: ioctl, arguments: [1, 0x5412] })).toBe(answers.eperm);
    expect(run(program, { arch, number: ioctl, arguments: [1, 0x541b] })).toBe(answers.allow);
  });

  it('refuses every socket but Unix ones when asked', () => {
    const closed = buildSeccompProgram(name, { denyInet: true });
    const socket = name === 'x64' ? 41 : 198;
    const family = (value: number) => run(closed, { arch, number: socket, arguments: [value] });
    expect(family(1)).toBe(answers.allow);
    for (const value of [2, 10, 16, 17, 40]) expect(family(value)).toBe(answers.eperm);
    expect(run(closed, { arch, number: socket + 1 })).toBe(answers.allow);
  });
});

describe('the system call filter', () => {
  it('kills x32 calls, which its table does not cover', () => {
    const program = buildSeccompProgram('x64', { denyInet: false });
    expect(run(program, { arch: auditArch.x64, number: 0x40000000 })).toBe(answers.kill);
  });

  it('has tables for two architectures', () => {
    expect(findSeccompArch('x64')).toBe('x64');
    expect(findSeccompArch('riscv64')).toBeUndefined();
  });
});

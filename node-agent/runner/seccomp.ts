/**
 * The system call filter of every sandbox: a classic BPF program made by hand, since no library for
 * it is worth its weight. It refuses what a namespace, an unprivileged uid and no_new_privs refuse
 * already, and what they do not: the parts of the kernel where holes have been found.
 */

/** `process.arch` values that have a table. */
export type SeccompArch = 'x64' | 'arm64';

export interface SeccompOptions {
  /** Refuses every socket but Unix ones: where there is no network namespace. */
  denyInet: boolean;
}

/** The table for an architecture; undefined when there is none. */
export function findSeccompArch(arch: string): SeccompArch | undefined {
  return arch === 'x64' || arch === 'arm64' ? arch : undefined;
}

/** The program, as `struct sock_filter` instructions. */
export function buildSeccompProgram(arch: SeccompArch, options: SeccompOptions): Buffer {
  const table = tables[arch];
  const program: Instruction[] = [
    load(offsets.arch),
    ...unlessEqual(table.auditArch, actions.kill),
    load(offsets.number),
  ];
  // The x32 calls have numbers of their own, which no table here covers.
  if (arch === 'x64') program.push(jump(codes.greaterOrEqual, x32Bit, 0, 1), answer(actions.kill));
  // Its flags are behind a pointer, out of reach of a filter; ENOSYS makes libc use clone.
  program.push(...whenEqual(table.clone3, actions.enosys));
  program.push(...whenFlags(table.clone, namespaceFlags));
  // TIOCSTI types into the terminal of whoever started the agent.
  program.push(...whenArgument(table.ioctl, tiocsti), ...whenArgument(table.ioctl, tioclinux));
  if (options.denyInet) program.push(...unlessUnixSocket(table.socket));
  for (const number of table.denied) program.push(...whenEqual(number, actions.eperm));
  program.push(answer(actions.allow));
  return encode(program);
}

/** Names of the calls that are refused with EPERM, for the documentation. */
export const deniedCallNames = [
  'ptrace',
  'process_vm_readv',
  'process_vm_writev',
  'process_madvise',
  'kcmp',
  'pidfd_getfd',
  'mount',
  'umount2',
  'pivot_root',
  'chroot',
  'move_mount',
  'open_tree',
  'fsopen',
  'fsconfig',
  'fsmount',
  'fspick',
  'mount_setattr',
  'unshare',
  'setns',
  'bpf',
  'perf_event_open',
  'userfaultfd',
  'add_key',
  'request_key',
  'keyctl',
  'io_uring_setup',
  'io_uring_enter',
  'io_uring_register',
  'kexec_load',
  'kexec_file_load',
  'init_module',
  'finit_module',
  'delete_module',
  'reboot',
  'swapon',
  'swapoff',
  'open_by_handle_at',
  'fanotify_init',
  'syslog',
  'personality',
  'settimeofday',
  'clock_settime',
  'adjtimex',
  'clock_adjtime',
  'quotactl',
  'quotactl_fd',
  'acct',
  'sethostname',
  'setdomainname',
  'vhangup',
  'nfsservctl',
] as const;

interface Instruction {
  code: number;
  jumpTrue: number;
  jumpFalse: number;
  value: number;
}

interface CallTable {
  auditArch: number;
  clone: number;
  clone3: number;
  ioctl: number;
  socket: number;
  denied: readonly number[];
}

const codes = { load: 0x20, equal: 0x15, greaterOrEqual: 0x35, anyBit: 0x45, answer: 0x06 };
/** Into `struct seccomp_data`; the low half of each argument on a little-endian machine. */
const offsets = { number: 0, arch: 4, argument0: 16, argument1: 24 };
const errno = (value: number) => 0x00050000 | value;
const actions = { allow: 0x7fff0000, kill: 0x80000000, eperm: errno(1), enosys: errno(38) };
const x32Bit = 0x40000000;
/** NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const namespaceFlags = 0x7e020000;
const unixFamily = 1;
const tiocsti = 0x5412;
const tioclinux = 0x541c;

/** In the order of `deniedCallNames`, then what only this architecture has. */
const tables: Record<SeccompArch, CallTable> = {
  x64: {
    auditArch: 0xc000003e,
    clone: 56,
    clone3: 435,
    ioctl: 16,
    socket: 41,
    denied: [
      101, 310, 311, 440, 312, 438, 165, 166, 155, 161, 429, 428, 430, 431, 432, 433, 442, 272, 308,
      321, 298, 323, 248, 249, 250, 425, 426, 427, 246, 320, 175, 313, 176, 169, 167, 168, 304, 300,
      103, 135, 164, 227, 159, 305, 179, 443, 163, 170, 171, 153, 180,
      // iopl, ioperm, modify_ldt, uselib, create_module, _sysctl
      172, 173, 154, 134, 174, 156,
    ],
  },
  arm64: {
    auditArch: 0xc00000b7,
    clone: 220,
    clone3: 435,
    ioctl: 29,
    socket: 198,
    denied: [
      117, 270, 271, 440, 272, 438, 40, 39, 41, 51, 429, 428, 430, 431, 432, 433, 442, 97, 268, 280,
      241, 282, 217, 218, 219, 425, 426, 427, 104, 294, 105, 273, 106, 142, 224, 225, 265, 262, 116,
      92, 170, 112, 171, 266, 60, 443, 89, 161, 162, 58, 42,
    ],
  },
};

function load(offset: number): Instruction {
  return { code: codes.load, jumpTrue: 0, jumpFalse: 0, value: offset };
}

function answer(action: number): Instruction {
  return { code: codes.answer, jumpTrue: 0, jumpFalse: 0, value: action };
}

function jump(code: number, value: number, jumpTrue: number, jumpFalse: number): Instruction {
  return { code, jumpTrue, jumpFalse, value };
}

function whenEqual(value: number, action: number): Instruction[] {
  return [jump(codes.equal, value, 0, 1), answer(action)];
}

function unlessEqual(value: number, action: number): Instruction[] {
  return [jump(codes.equal, value, 1, 0), answer(action)];
}

/** EPERM for a call with any of these flags in its first argument; the number is loaded again after. */
function whenFlags(number: number, flags: number): Instruction[] {
  return [
    jump(codes.equal, number, 0, 4),
    load(offsets.argument0),
    jump(codes.anyBit, flags, 0, 1),
    answer(actions.eperm),
    load(offsets.number),
  ];
}

function whenArgument(number: number, argument: number): Instruction[] {
  return [
    jump(codes.equal, number, 0, 4),
    load(offsets.argument1),
    jump(codes.equal, argument, 0, 1),
    answer(actions.eperm),
    load(offsets.number),
  ];
}

function unlessUnixSocket(number: number): Instruction[] {
  return [
    jump(codes.equal, number, 0, 4),
    load(offsets.argument0),
    jump(codes.equal, unixFamily, 1, 0),
    answer(actions.eperm),
    load(offsets.number),
  ];
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach((instruction, index) => {
    bytes.writeUInt16LE(instruction.code, index * 8);
    bytes.writeUInt8(instruction.jumpTrue, index * 8 + 2);
    bytes.writeUInt8(instruction.jumpFalse, index * 8 + 3);
    bytes.writeUInt32LE(instruction.value >>> 0, index * 8 + 4);
  });
  return bytes;
}

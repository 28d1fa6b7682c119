/**
 * The script that makes a bare machine a node. It needs `sh`, `tar`, `gzip`, `sha256sum` and one of
 * curl, wget or python3: what every cloud image of Debian and Ubuntu has. It knows the digest of
 * all that it fetches, so that whoever stands between can only keep it from booting.
 */
import { exitCodes } from '../../protocol/base/errors.ts';
import { bundleFolder } from './agent-bundle.ts';

export interface BootScriptInput {
  instance: string;
  /** `http://HOST:PORT` of the coordinator, as the machine reaches it. */
  url: string;
  /** PEM, when the coordinator's certificate is its own; null for the machine's own trust. */
  certificate: string | null;
  joinAddress: string;
  joinToken: string;
  bundle: { digest: string };
  /** `machine`: root, and powered off at its end. `job`: a user's process on somebody's machine. */
  life: 'machine' | 'job';
  /** Where notices of the machine's end come from. */
  notices: 'ec2' | 'gce' | 'none';
  /** Without a sign of the coordinator for so long the machine ends itself. */
  deadManSeconds: number;
  /** More flags for the agent, such as `--slots 4`. */
  agentFlags: readonly string[];
}

/** The whole script. */
export function bootScript(input: BootScriptInput): string {
  const isMachine = input.life === 'machine';
  return `#!/bin/sh
# Makes this machine a node of a Perigee mesh.
set -u
umask 077
instance=${quote(input.instance)}
url=${quote(input.url)}
${
  isMachine
    ? 'home=/var/lib/perigee'
    : `# SIGTERM before the home exists ends the job at once. The instance's name is no secret: others on
# the machine could have made a folder of that name, and would then own what runs in it.
home=$(mktemp -d "\${TMPDIR:-/tmp}/perigee-$instance.XXXXXXXX") || exit 1`
}
mkdir -p "$home/boot" "$home/images" && cd "$home" || exit 1
cat >boot/power-off <<'END'
${isMachine ? powerOff : '# A job ends by ending.\n:'}
END
cat >boot/supervise <<'END'
${supervise(input)}
END
cat >boot/certificate.pem <<'END'
${input.certificate?.trim() ?? ''}
END
printf 'header = "Authorization: Bearer %s"\\n' ${quote(input.joinToken)} >boot/curlrc
printf 'header = Authorization: Bearer %s\\n' ${quote(input.joinToken)} >boot/wgetrc
printf '%s' ${quote(input.joinToken)} >boot/token
trust=
[ -s boot/certificate.pem ] && grep -q CERTIFICATE boot/certificate.pem && trust=boot/certificate.pem

fail() {
  echo "perigee: $1" >&2
  sh boot/power-off
  exit 1
}
# Goes on where an attempt before broke off.
fetch_once() {
  if command -v curl >/dev/null 2>&1; then
    curl -q -K boot/curlrc -fsS -C - --connect-timeout 10 --speed-limit 1 --speed-time 30 \\
      \${trust:+--cacert "$trust"} -o "$2" "$url/v1/boot/$1"
  elif command -v wget >/dev/null 2>&1; then
    WGETRC=boot/wgetrc wget -q -c -T 30 -t 1 \${trust:+--ca-certificate="$trust"} -O "$2" "$url/v1/boot/$1"
  else
    python3 - "$url/v1/boot/$1" "$2" "$trust" <<'END'
import os, ssl, sys, urllib.request
url, path, trust = sys.argv[1:]
have = os.path.getsize(path) if os.path.exists(path) else 0
headers = {"Authorization": "Bearer " + open("boot/token").read(), "Range": "bytes=%d-" % have}
context = ssl.create_default_context(cafile=trust) if trust else None
answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30, context=context)
with open(path, "ab" if answer.status == 206 else "wb") as out:
    for part in iter(lambda: answer.read(1 << 20), b""):
        out.write(part)
END
  fi
}
fetch() {
  tries=0
  while :; do
    fetch_once "$1" "boot/$1"
    have=$(sha256sum "boot/$1" 2>/dev/null | cut -d ' ' -f 1)
    [ "$have" = "$1" ] && return 0
    tries=$((tries + 1))
    [ $tries -ge ${fetchTriesMax} ] && fail "cannot fetch $1 from $url"
    # What is whole and wrong must not be gone on with.
    [ $((tries % 5)) -eq 0 ] && rm -f "boot/$1"
    sleep 3
  done
}

if [ ! -d "$home/${bundleFolder}" ]; then
  fetch ${input.bundle.digest}
  tar -xzf boot/${input.bundle.digest} && rm -f boot/${input.bundle.digest} || fail 'cannot unpack the agent'
fi
chmod 711 "$home" "$home/images"
rm -f boot/curlrc boot/wgetrc
${
  isMachine
    ? `if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
  exec systemd-run --unit=perigee-agent --property=KillMode=mixed --property=Delegate=yes /bin/sh "$home/boot/supervise" "$home"
fi
exec /bin/sh "$home/boot/supervise" "$home"`
    : `exec /bin/sh "$home/boot/supervise" "$home"`
}
`;
}

const fetchTriesMax = 20;

const powerOff = `# EC2 ends such a machine for good; the others stop paying for it.
sync
systemctl poweroff 2>/dev/null || poweroff 2>/dev/null || poweroff -f 2>/dev/null || shutdown -h now`;

/**
 * Runs the agent, again after a crash, and sees to its end: the dead-man timer counts its own sleeps
 * since the agent last wrote a new number, so neither a hung agent nor a clock that jumps misleads it.
 */
function supervise(input: BootScriptInput): string {
  const isMachine = input.life === 'machine';
  return `home=$1
cd "$home" || exit 1
PATH="$home/${bundleFolder}/bin:$PATH"
PERIGEE_HOME="$home"
export PATH PERIGEE_HOME
agent=
asked=
on_signal() { asked=1; [ -n "$agent" ] && kill -TERM "$agent" 2>/dev/null; }
trap on_signal TERM INT
watch_coordinator() {
  trap - TERM INT
  last=
  quiet=0
  while sleep ${watchSeconds}; do
    now=$(cat "$home/boot/alive" 2>/dev/null)
    if [ "$now" != "$last" ]; then
      last=$now
      quiet=0
    else
      quiet=$((quiet + ${watchSeconds}))
    fi
    [ $quiet -lt ${input.deadManSeconds + deadManSlackSeconds} ] && continue
    echo 'perigee: no sign of the coordinator, ending this machine' >&2
    kill -KILL "$(cat "$home/boot/agent.pid" 2>/dev/null)" 2>/dev/null
    touch "$home/boot/dead"
    sh "$home/boot/power-off"
    exit
  done
}
watch_coordinator &
watcher=$!
tries=0
while :; do
  node --max-semi-space-size=8 "$home/${bundleFolder}/node-agent/main.ts" --join ${quote(input.joinAddress)} \\
    --instance ${quote(input.instance)} --name ${quote(input.instance)} --data "$home/agent" \\
    --join-token-file "$home/boot/token" --alive-file "$home/boot/alive" --notices ${input.notices} \\
    --exit-when-orphaned-seconds ${input.deadManSeconds} ${input.agentFlags.map(quote).join(' ')} &
  agent=$!
  echo "$agent" >"$home/boot/agent.pid"
  wait "$agent"
  code=$?
  # A signal ends the wait, not the agent.
  while kill -0 "$agent" 2>/dev/null; do wait "$agent"; code=$?; done
  [ $code -eq 0 ] || [ -n "$asked" ] || [ -e "$home/boot/dead" ] && break
  # Crashes are tried again: the agent keeps its key, and so its place. What it was told is final.
  [ $code -eq ${exitCodes.failed} ] || [ $code -gt 128 ] || break
  tries=$((tries + 1))
  [ $tries -ge 5 ] && break
  sleep 2
done
kill "$watcher" 2>/dev/null
${isMachine ? 'sh "$home/boot/power-off"' : 'cd / && rm -rf "$home"'}
exit $code`;
}

const watchSeconds = 2;
/** The agent ends in order first; the watch is for one that does not. */
const deadManSlackSeconds = 20;

/** A word as `sh` reads it. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

"""Paths for the suites: the SDK's sources, and the modules that stand for a user's own."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SDK = os.path.join(ROOT, 'sdk', 'python', 'src')
DLRUN = os.path.join(ROOT, 'sdk', 'python-dlrun', 'src')
USERS_CODE = os.path.join(HERE, 'users_code')
CASES = os.path.join(ROOT, 'test', 'contract', 'sdk-cases.json')

for _path in (SDK, DLRUN, USERS_CODE):
    if _path not in sys.path:
        sys.path.insert(0, _path)


def run_python(code, *arguments, **options):
    """Runs code in a fresh interpreter of the same kind, without any site-packages."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    environment.pop('PYTHONPATH', None)
    environment.update(options.get('environment', {}))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([sys.executable, '-S', '-c', code] + list(arguments), stdout=out, stderr=err,
                                   env=environment, cwd=tempfile.gettempdir())
        status = process.wait()
        out.seek(0)
        err.seek(0)
        output, errors = out.read(), err.read().decode('utf-8', 'replace')
    if status != 0:
        raise AssertionError('exit %d: %s' % (status, errors))
    return output

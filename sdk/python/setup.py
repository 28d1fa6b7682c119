import io
import os

from setuptools import setup

HERE = os.path.dirname(os.path.abspath(__file__))

ABOUT = {}
with io.open(os.path.join(HERE, 'src', 'perigee', '_version.py'), encoding='utf-8') as stream:
    exec(stream.read(), ABOUT)
with io.open(os.path.join(HERE, 'README.md'), encoding='utf-8') as stream:
    LONG_DESCRIPTION = stream.read()

setup(
    name='perigee',
    version=ABOUT['__version__'],
    description='Runs your Python where the pixels are: the client of a Perigee mesh.',
    long_description=LONG_DESCRIPTION,
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    package_dir={'': 'src'},
    packages=['perigee'],
    package_data={'perigee': ['py.typed', '*.pyi']},
    python_requires='>=2.7,!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,!=3.5.*,!=3.6.*,!=3.7.*',
    install_requires=[
        # The last release for Python 2.7.
        'cloudpickle>=1.3,<1.4; python_version < "3"',
        # The first with register_pickle_by_value is 2.0.
        'cloudpickle>=2.0; python_version >= "3"',
    ],
    zip_safe=False,
    # The "universal" option of wheel is deprecated; the tag is the same.
    options={'bdist_wheel': {'python_tag': 'py2.py3'}},
    classifiers=[
        'Programming Language :: Python :: 2.7',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.8',
        'Programming Language :: Python :: 3.9',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
    ],
)

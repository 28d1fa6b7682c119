import io
import os

from setuptools import setup

HERE = os.path.dirname(os.path.abspath(__file__))

with io.open(os.path.join(HERE, 'README.md'), encoding='utf-8') as stream:
    LONG_DESCRIPTION = stream.read()

setup(
    name='perigee-dlrun',
    version='0.1.0',
    description="DLRun's own import paths (descarteslabs.ext.tasks) on top of Perigee.",
    long_description=LONG_DESCRIPTION,
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    package_dir={'': 'src'},
    packages=['descarteslabs', 'descarteslabs.ext', 'descarteslabs.client',
              'descarteslabs.client.services'],
    python_requires='>=2.7,!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,!=3.5.*,!=3.6.*,!=3.7.*',
    install_requires=['perigee==0.1.0'],
    zip_safe=False,
    options={'bdist_wheel': {'python_tag': 'py2.py3'}},
    classifiers=[
        'Programming Language :: Python :: 2.7',
        'Programming Language :: Python :: 3',
    ],
)

#!/bin/sh
# Makes the sample scenes anew from Debian's package r-cran-stars. Needs apt-get, dpkg-deb and
# gdal_translate (npm run setup -- --for=test); writes beside itself.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

(cd "$work" && apt-get -q -o APT::Sandbox::User=root download r-cran-stars)
dpkg-deb -x "$work"/r-cran-stars_*.deb "$work/package"
cp "$work/package/usr/lib/R/site-library/stars/tif/L7_ETMs.tif" "$here/L7_ETMs.tif"
chmod 644 "$here/L7_ETMs.tif"

# Red and near infrared, 1024 x 1024 pixels: 64 windows of 128 x 128, each of them one tile. Without
# overviews, which nobody reads here.
for band in 3 4; do
  case $band in
    3) name=red ;;
    4) name=nir ;;
  esac
  gdal_translate -q -of COG -b "$band" -outsize 1024 1024 -r bilinear -co COMPRESS=DEFLATE \
    -co PREDICTOR=YES -co LEVEL=9 -co BLOCKSIZE=128 -co OVERVIEWS=NONE \
    "$here/L7_ETMs.tif" "$here/L7_$name.tif"
done
(cd "$here" && sha256sum ./*.tif)

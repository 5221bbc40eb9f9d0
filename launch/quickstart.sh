#!/usr/bin/env bash
# From pictures of people to a first pre-training and its reconstructions:
#   launch/quickstart.sh PICTURES [OUTPUT]
# PICTURES is a folder as `prepare --dataset=pairs_folder` reads it; see the README.
set -euo pipefail
if [ $# -lt 1 ]; then
  echo "usage: launch/quickstart.sh PICTURES [OUTPUT]   (PICTURES: <sequence>/t<instant>/<camera>.jpg)" >&2
  exit 2
fi
PICTURES="$(realpath "$1")"
OUTPUT="$(realpath -m "${2:-runs/quickstart}")"
. "$(dirname "$0")/environment.sh"
python -m crocohuman_jax.prepare --dataset=pairs_folder --source="$PICTURES" --output="$OUTPUT/prepared"
python -m crocohuman_jax.train --config=configs/pretrain.py:tiny \
  --config.data.folders="$OUTPUT/prepared" --config.total="${STEPS:-300}" --workdir="$OUTPUT/run"
python -m crocohuman_jax.reconstruct --workdir="$OUTPUT/run" --output="$OUTPUT/reconstructions.png"
echo "Curves: tensorboard --logdir $OUTPUT/run    Pictures: $OUTPUT/reconstructions.png"

#!/usr/bin/env bash
# From nothing to a first pre-training and a page of its reconstructions, in minutes on two cores:
#   launch/quickstart.sh [OUTPUT] [PICTURES]
# Without PICTURES it makes its own people; PICTURES is a folder as `prepare --dataset=pairs_folder`
# reads it. PEOPLE, STEPS and BATCH in the environment change how many.
set -euo pipefail
OUTPUT="$(realpath -m "${1:-runs/quickstart}")"
PICTURES="${2:+$(realpath "$2")}"
. "$(dirname "$0")/environment.sh"
if [ -n "$PICTURES" ]; then
  python -m crocohuman_jax.prepare --dataset=pairs_folder --source="$PICTURES" --size=128 \
    --output="$OUTPUT/prepared"
  BATCH="${BATCH:-8}" # a batch may not be larger than an epoch
else
  python -m crocohuman_jax.prepare --dataset=synthetic --size=128 --output="$OUTPUT/prepared" \
    --options="people=${PEOPLE:-240},instants=2,views=3,truth=numbers"
fi
python -m crocohuman_jax.train --config="configs/pretrain.py:tiny,size=112,batch=${BATCH:-16}" \
  --config.data.folders="$OUTPUT/prepared" --config.total="${STEPS:-1200}" --workdir="$OUTPUT/run"
python -m crocohuman_jax.reconstruct --workdir="$OUTPUT/run" --output="$OUTPUT/reconstructions.png"
echo "Pictures: $OUTPUT/reconstructions.png and $OUTPUT/prepared/*.png   Curves: tensorboard --logdir $OUTPUT/run"

#!/bin/sh
# Train the shipped weights from nothing: sh examples/train_shipped.sh DATA OUT
#
# DATA holds train/{low,high}, val/{low,label} and keep. OUT gets nano, small and base .safetensors, what they came
# from, and a folder for each run. What is finished is skipped, and a run that was interrupted goes on. nano takes
# minutes on any machine. On one H200 with 16 CPU cores, small and base take less than ten minutes each (WORKERS=14); on
# two CPU cores, some 3 and 15 hours. Then small is fine-tuned on the CPU for an hour and a half.
set -eu
data=$1
out=$2
python=${PYTHON:-python3}
mkdir -p "$out"

run() {  # name, then the options of the run
  name=$1
  shift
  if [ -e "$out/$name.safetensors" ]; then
    echo "$name is finished"
    return
  fi
  if [ -e "$out/$name/state.safetensors" ]; then
    set -- --resume "$out/$name" "$@"
  fi
  "$python" -m bncagan train --data "$data" --out "$out/$name" --model.tone --model.detail --model.untoned \
    --tone "$out/nano.safetensors" --low-from-high 1 --short-side 384 --crop 384 --smallest-crop 0.55 --size 192 \
    --batch 8 --precision bf16-mixed --workers "${WORKERS:-2}" --cache 700 --domain-style-share 1 --loss.supervised 1 \
    --loss.adversarial 0 --loss.perceptual 0 --loss.identity 0 --loss.classification 0 --epochs 40 --decay-epochs 60 \
    --ema-decay 0.998 --log-every 250 --checkpoint-every 500 "$@"
  cp "$out/$name/generator.safetensors" "$out/$name.partial"
  mv "$out/$name.partial" "$out/$name.safetensors"
}

once() {  # name, then what writes $out/name.partial
  if [ -e "$out/$1.safetensors" ]; then
    echo "$1 is finished"
    return
  fi
  name=$1
  shift
  "$python" "$@"
  mv "$out/$name.partial" "$out/$name.safetensors"
}

once nano examples/train_nano.py "$data/train/high" "$out/nano.partial" 1

run first --model.width 16 --learning-rate 5e-4 --steps 4000
once longer examples/match_sizes.py "$out/first.safetensors" "$data/train" "$out/longer.partial"
once nearer examples/match_sizes.py "$out/longer.safetensors" "$data/train" "$out/nearer.partial" \
  --steps 1000 --weight 0.6 --agreement 46 --uneven 0.5 --learning-rate 2e-4 --seed 1
once matched examples/match_sizes.py "$out/nearer.safetensors" "$data/train" "$out/matched.partial" \
  --steps 1000 --weight 0.6 --agreement 47 --uneven 0.5 --learning-rate 2e-4 --seed 2
# Nearer at other sizes, for a little of the repair: docs/full-size.md
once small examples/weaken.py "$out/matched.safetensors" "$out/small.partial" 0.72

run strong --model.width 32 --learning-rate 4e-4 --steps 5500
# Without this, noise in flat areas grows by 1.254, and bncagan stress asks for 1.25
once base examples/weaken.py "$out/strong.safetensors" "$out/base.partial" 0.95

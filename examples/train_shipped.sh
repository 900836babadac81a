#!/bin/sh
# Train the shipped weights from nothing: sh examples/train_shipped.sh DATA OUT
#
# DATA holds train/high, val/{low,label} and keep. OUT gets nano, small and base .safetensors and a folder for each run.
# What is finished is skipped, and a run that was interrupted goes on. On two CPU cores: nano takes minutes, small and
# base about an hour each.
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
  resume=
  if [ -e "$out/$name/state.safetensors" ]; then
    resume=--resume
  fi
  "$python" -m bncagan train --data "$data" --out "$out/$name" $resume --model.tone --model.detail \
    --tone "$out/nano.safetensors" --low-from-high 1 --short-side 288 --crop 216 --smallest-crop 0.45 --size 96 \
    --batch 4 --precision bf16-mixed --workers 1 --cache 700 --domain-style-share 1 --loss.supervised 1 \
    --loss.adversarial 0 --loss.perceptual 0 --loss.identity 0 --loss.classification 0 --epochs 15 --decay-epochs 85 \
    --ema-decay 0.99 --log-every 50 --checkpoint-every 500 "$@"
  cp "$out/$name/generator.safetensors" "$out/$name.partial"
  mv "$out/$name.partial" "$out/$name.safetensors"
}

if [ ! -e "$out/nano.safetensors" ]; then
  "$python" examples/train_nano.py "$data/train/high" "$out/nano.partial" 1
  mv "$out/nano.partial" "$out/nano.safetensors"
fi
run small --model.width 16 --learning-rate 5e-4 --steps 4000
run base --model.width 32 --init "$out/small.safetensors" --learning-rate 3e-4 --steps 2000

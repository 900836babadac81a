#!/bin/sh
# Train the shipped weights from nothing: sh examples/train_shipped.sh DATA OUT
#
# DATA holds train/{low,high}, val/{low,label} and keep. OUT gets nano, small and base .safetensors and a folder for each run.
# What is finished is skipped, and a run that was interrupted goes on. nano takes minutes on any machine. On one H200 with
# 16 CPU cores, small and base take less than ten minutes each (WORKERS=14); on two CPU cores, some 3 and 15 hours. Then small is fine-tuned on
# the CPU for an hour and a half.
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

if [ ! -e "$out/nano.safetensors" ]; then
  "$python" examples/train_nano.py "$data/train/high" "$out/nano.partial" 1
  mv "$out/nano.partial" "$out/nano.safetensors"
fi
run first --model.width 16 --learning-rate 5e-4 --steps 4000
match() {  # name of the start, name of the result, then the options
  if [ ! -e "$out/$2.safetensors" ]; then
    from=$1 to=$2
    shift 2
    "$python" examples/match_sizes.py "$out/$from.safetensors" "$data/train" "$out/$to.partial" "$@"
    mv "$out/$to.partial" "$out/$to.safetensors"
  fi
}
match first longer
match longer nearer --steps 1000 --weight 0.6 --agreement 46 --uneven 0.5 --learning-rate 2e-4 --seed 1
match nearer matched --steps 1000 --weight 0.6 --agreement 47 --uneven 0.5 --learning-rate 2e-4 --seed 2
if [ ! -e "$out/small.safetensors" ]; then  # brings 2.5 dB of agreement for a tenth of the repair: docs/full-size.md
  "$python" examples/weaken.py "$out/matched.safetensors" "$out/small.partial" 0.72
  mv "$out/small.partial" "$out/small.safetensors"
fi
run strong --model.width 32 --learning-rate 4e-4 --steps 5500
if [ ! -e "$out/base.safetensors" ]; then  # without this, noise in flat areas grows by 1.254, and bncagan stress asks for 1.25
  "$python" examples/weaken.py "$out/strong.safetensors" "$out/base.partial" 0.95
  mv "$out/base.partial" "$out/base.safetensors"
fi

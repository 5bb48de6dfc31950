"""`jsl predict` of one sentence as a script in PyTorch, run by benchmarks/start_up.py.

python -m benchmarks.peers.torch_predict FILE
"""

import sys

import torch

from benchmarks.peers.torch_seq2seq import Seq2Seq

BOUNDARY = 1

if __name__ == "__main__":
    saved = torch.load(sys.argv[1])
    allowed = torch.tensor(saved["allowed"])
    src = torch.tensor([saved["source"]])
    sys.stdout.reconfigure(encoding="utf-8")
    with torch.inference_mode():
        for group, weights in saved["weights"].items():
            model = Seq2Seq(len(saved["tokens"]), saved["config"], saved["positions"].numpy())
            model.load_state_dict(weights)
            model.eval()
            ids = [BOUNDARY]
            for _ in range(saved["config"]["max_seq_len"] - 1):
                scores = model(src, torch.tensor([ids]))[0, -1]
                best = int(allowed[scores[allowed].argmax()])
                if best == BOUNDARY:
                    break
                ids.append(best)
            print(f"{group}\t{' '.join(saved['tokens'][i] for i in ids[1:])}")

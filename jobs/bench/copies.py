"""How often posing a question once more raises its reward: `python -m jobs.bench.copies`, a minute.

In random batches of 6 to 12 questions of 4 to 9 words. A copy raises its question's reward where the share of its cluster in the
batch, which is the repetition penalty, falls.
"""

import random

import numpy as np

from pipeline.algorithm.bleu import cluster_labels

BATCHES = 500
WORDS = ["one", "two", "three", "plus", "times", "what", "is", "many"]


def share(batch: list[str], place: int) -> float:
    """The share of a question's cluster in its batch."""
    labels = cluster_labels(batch)
    return float(np.mean(labels == labels[place]))


def raised(words: list[str], seed: int) -> bool:
    """Whether a copy raises its question's reward in a random batch of questions of these words."""
    chance = random.Random(seed)
    batch = [" ".join(chance.choices(words, k=chance.randint(4, 9))) for _ in range(chance.randint(6, 12))]
    place = chance.randrange(len(batch))
    return share([*batch, batch[place]], place) < share(batch, place)


def main() -> None:
    print(f"Batches, of {BATCHES}, in which a copy raises its question's reward")
    for count in (2, 3, 8):
        print(
            f"  questions of {count} different words: {sum(raised(WORDS[:count], seed) for seed in range(BATCHES))}", flush=True
        )


if __name__ == "__main__":
    main()

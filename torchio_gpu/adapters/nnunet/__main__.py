"""Print the folder of the trainer, for ``nnUNet_extTrainer``."""

from . import TRAINERS

if __name__ == "__main__":
    print(TRAINERS)

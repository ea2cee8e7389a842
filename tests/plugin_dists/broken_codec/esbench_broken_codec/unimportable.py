import sys

sys.exit('no codec here')

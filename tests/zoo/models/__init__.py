"""The models, one module for each thing that can be odd about a model."""

from .cascades import *  # noqa: F403
from .fields import *  # noqa: F403
from .inheritance import *  # noqa: F403
from .keys import *  # noqa: F403
from .names import *  # noqa: F403
from .relations import *  # noqa: F403
from .uniques import *  # noqa: F403
from .wide import *  # noqa: F403

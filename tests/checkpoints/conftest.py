"""What tests of checkpoints share."""

import logging as std_logging

import pytest
from absl import logging


@pytest.fixture
def warnings(caplog):
    logger = logging.get_absl_logger()
    logger.propagate = True
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == std_logging.WARNING]
    logger.propagate = False

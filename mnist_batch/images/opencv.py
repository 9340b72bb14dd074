"""OpenCV, imported with our settings but without changing the environment of the importer. Import it from here."""

from mnist_batch.images.header import MAX_PIXELS
from mnist_batch.runtime import environment_during_import

# OpenCV reads these variables once, at import. `decode` checks the size in the header first; this is a second guard.
# At other log levels, OpenCV writes several lines to stderr per damaged image, which becomes a reject with a reason.
_SETTINGS = {
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),
    "OPENCV_IO_MAX_IMAGE_WIDTH": str(1 << 20),
    "OPENCV_IO_MAX_IMAGE_HEIGHT": str(1 << 20),
    "OPENCV_LOG_LEVEL": "SILENT",
}

with environment_during_import(**_SETTINGS):
    import cv2

__all__ = ["cv2"]

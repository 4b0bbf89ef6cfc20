"""dma-bufs of grant references, in a dom0 with Debian's kernel: gntdev as Debian could have built it, and a look into the buffers."""

from .build import GNTDEV_FILES, build_dmabuf_modules

__all__ = ["GNTDEV_FILES", "build_dmabuf_modules"]

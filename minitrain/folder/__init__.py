"""A run's folder: the names in it, files that are safe to open whoever made the folder, and its one writer.

`RunFolder` is the door for everything that reads or writes there. Below the folder it accepts regular files and
folders only, and no links; a `WriterLock` keeps a second trainer out.
"""

from .folder import RunFolder as RunFolder
from .folder import new_run_folder as new_run_folder
from .folder import open_to_append as open_to_append
from .lock import FolderInUse as FolderInUse
from .lock import WriterLock as WriterLock
from .safe import inside as inside

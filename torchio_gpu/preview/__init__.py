"""Page on which transforms are tuned by looking: ``torchio-gpu preview``.

``server`` answers a browser of this machine, ``session`` holds the subject and transforms it,
``form`` says which controls a transform has, ``texts`` reads and writes pipelines, and ``wire``
turns images to bytes. The page itself is in ``static``.
"""

DEFECTS: tuple[str, ...] = ()

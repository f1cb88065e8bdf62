from concurrent.futures import ThreadPoolExecutor

import torch

_pool = ThreadPoolExecutor(2)


def in_parallel(work, count):
    n = torch.get_num_threads() * 4
    step = -(-count // n)
    list(_pool.map(lambda s: work(s, min(count, s + step)), range(0, count, step)))

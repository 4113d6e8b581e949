"""A lab of our own, for what `vpce bench` has no case for or only together with others."""

import json
import os

from grounds import sh


class Lab:
    """Up within the `with` block; endpoint and on-premises side are pinned as `vpce bench` pins them."""

    def __init__(self, wishes, topology, more=()):
        self.wishes, self.words = wishes, [topology, *more]

    def __enter__(self):
        sh(self.wishes.vpce, "lab", "up", *self.words)
        try:
            processes = {process["name"]: process["pid"] for process in self.status()["processes"]}
            self.endpoint, self.onprem = processes["endpoint"], processes["onprem"]
            for pid, cpu in ((self.endpoint, self.wishes.cpus[0]), (self.onprem, self.wishes.cpus[1])):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(thread), {cpu})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        sh(self.wishes.vpce, "lab", "down")

    def status(self):
        return json.loads(sh(self.wishes.vpce, "lab", "status", "--output", "json"))

    def counter(self, code):
        """One of the endpoint's counters."""
        return sum(one["count"] for one in self.status()["counters"] if one["code"] == code and one["process"] == "endpoint")

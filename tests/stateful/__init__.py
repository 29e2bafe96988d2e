"""The protocol under random interleavings and faults: the real parts on a real Redis and a real database, a step at a time.

    virtual_loop.py  an event loop whose clock moves only when told
    actors.py        who takes part; each call to Redis or the database waits at its actor's gate
    worker.py  sweeper.py  web.py  viewer.py     the parts of the product behind such gates, and who watches
    oracle.py        what must hold after every step
    world.py         all of them together, the faults, and how everything heals in the end
    machine.py       the rules from which examples are made
    mutations.py     rules of the protocol taken out, each of which the machine must find

`STATEFUL_EXAMPLES=10000 pytest tests/stateful` is the long run by hand.
"""

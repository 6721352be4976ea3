from selfreward_ray.training.board import Board


def shown(board: Board) -> tuple[int, int]:
    state = board.read()
    return state["done"], state["tokens"]


def test_a_run_that_goes_on_shows_its_step_and_the_tokens_of_this_driver():
    board = Board()
    board.begin(40, 4000)
    assert shown(board) == (40, 0)
    board.update(43, 4300)
    assert shown(board) == (43, 300)
    board.begin(42, 4200)  # a worker died, and Ray Train started the group again
    assert shown(board) == (42, 200)
    board.update(43, 4300)
    assert shown(board) == (43, 300)

"""How bodies and hands move: actions, gestures, grasps, and recorded motions."""
